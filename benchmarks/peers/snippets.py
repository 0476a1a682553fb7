"""What the peers' snippets have in common, as their documentation writes it.

Nobody but us crops to the lungs or equalises gray levels, and only we abstain: a peer's answer is a raw one.
"""

import numpy as np

MEAN, STD = 127.0, 128.0  # of the shipped networks


def dicom(path):
    """A DICOM file as pydicom's users read it: windowed, MONOCHROME1 inverted, stretched to 8 bits; ``(h, w)``."""
    import pydicom
    from pydicom.pixels import apply_voi_lut

    dataset = pydicom.dcmread(path)
    data = apply_voi_lut(dataset.pixel_array, dataset)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        data = np.amax(data) - data
    data = data - np.min(data)
    data = data / np.max(data)
    return (data * 255).astype(np.uint8)


def pillow(path, width, height):
    """As in LiteRT's label_image.py; ``(height, width)`` uint8."""
    from PIL import Image

    image = Image.fromarray(dicom(path)) if path.endswith(".dcm") else Image.open(path)
    return np.asarray(image.convert("L").resize((width, height)))


def pillow_rgb(path, width, height):
    """As it is copied from one notebook to the next: RGB whatever the file is, and float from there on."""
    from PIL import Image

    image = Image.fromarray(dicom(path)) if path.endswith(".dcm") else Image.open(path)
    return np.array(image.convert("RGB").resize((width, height)), np.float32).mean(axis=2)


def opencv(path, width, height):
    """OpenCV's gray decode; ``(height, width)`` uint8."""
    import cv2

    image = dicom(path) if path.endswith(".dcm") else cv2.imread(path, cv2.IMREAD_GRAYSCALE)
    return cv2.resize(image, (width, height))


def tflite(interpreter, logits, read):
    """``classify(path)`` with any of the TFLite interpreters, as their guide to integer networks writes it."""
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()[0]
    _, height, width, _ = details["shape"]
    scale, zero_point = details["quantization"]
    output = interpreter.get_output_details()[logits]["index"]

    def classify(path):
        real = (np.float32(read(path, width, height)) - MEAN) / STD
        values = (real / scale + zero_point).astype(details["dtype"])
        interpreter.set_tensor(details["index"], values[None, ..., None])
        interpreter.invoke()
        return np.argmax(interpreter.get_tensor(output)[0])

    return classify
