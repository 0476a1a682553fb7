"""A network of your own, from images to answers: ``python examples/own_model.py [FOLDER]``.

The example uses three handwritten digits of scikit-learn in place of radiographs,
with 64 x 64 pixels and three channels. Put your own images into SPLIT/LABEL/ and
start at step 2. Needs ``pip install -e '.[training]' scikit-learn``.
"""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
from keras import layers
from keras.applications import mobilenet
from PIL import Image
from sklearn.datasets import load_digits

import covidnet_lite

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path(*sys.argv[1:2] or ["runs/own_model"])
NAMES = {0: "zero", 4: "four", 7: "seven"}
SIDE, EPOCHS = 64, 15

# 1. Images as SPLIT/LABEL/image: train for training, val for calibrating the confidence, test for judging.
digits = load_digits()
for i, (digit_image, digit) in enumerate(zip(digits.images, digits.target)):
    if digit in NAMES:
        split = ("train", "train", "train", "val", "test")[i * 5 // len(digits.images)]
        path = FOLDER / split / NAMES[digit] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        gray = Image.fromarray(np.rint(digit_image * 255 / 16).astype(np.uint8))
        # At the network's size, so that neither Keras nor the runtime resizes, which they do differently.
        gray.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(path)


# 2. Train, as anyone does in Keras. "rgb" repeats the gray image three times, and so will the runtime.
def images(split: str, shuffle: bool):
    dataset = keras.utils.image_dataset_from_directory(
        FOLDER / split, image_size=(SIDE, SIDE), color_mode="rgb", batch_size=16, shuffle=shuffle, seed=0, verbose=False
    )
    return dataset.map(lambda x, y: (mobilenet.preprocess_input(x), y)), dataset.class_names


keras.utils.set_random_seed(0)
(train, labels), (val, _) = images("train", shuffle=True), images("val", shuffle=False)
black = {"fill_mode": "constant", "fill_value": -1.0}
vary = keras.Sequential([layers.RandomTranslation(0.1, 0.1, **black), layers.RandomZoom(0.2, **black)])
train = train.map(lambda x, y: (vary(x, training=True), y))  # here, not in the network, so that it stays behind

base = keras.applications.MobileNet(include_top=False, weights=None, alpha=0.25, input_shape=(SIDE, SIDE, 3))
for layer in base.layers:
    if isinstance(layer, layers.BatchNormalization):
        layer.momentum = 0.9  # Keras' 0.99 is for long training; in 300 steps its running means never arrive
features = base.get_layer("conv_pw_5_relu").output  # where they are still 8 x 8: fine enough for a map

# What makes an evidence map possible: classify every place first, by a 1x1 convolution, and average afterwards.
# The same logits as from averaging first and a Dense layer then, but what each place says is kept.
evidence = layers.Conv2D(len(labels), 1)(layers.SpatialDropout2D(0.2)(features))
logits = layers.GlobalAveragePooling2D()(evidence)

classifier = keras.Model(base.input, logits)
schedule = keras.optimizers.schedules.CosineDecay(3e-3, EPOCHS * len(train))
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
classifier.compile(keras.optimizers.Adam(schedule), loss, metrics=["accuracy"])
classifier.fit(train, validation_data=val, epochs=EPOCHS, verbose=2)

# 3. Save it with its outputs named. The embedding lets a guard refuse what looks like nothing it has learnt from.
outputs = {"logits": logits, "evidence": evidence, "embedding": layers.GlobalAveragePooling2D()(features)}
keras.Model(base.input, outputs).save(FOLDER / "mine.keras")

# 4. Quantise: the same command as in a shell.
command = ["--calibration", FOLDER, "--labels", ",".join(labels), "--input-range", "-1", "1", "--force"]
subprocess.run([sys.executable, ROOT / "convert/quantize.py", FOLDER / "mine.keras", *command], check=True)

# 5. Classify what it has never seen. From here on no TensorFlow is needed.
held_out = sorted((FOLDER / "test").glob("*/*.png"))
answers = [covidnet_lite.classify(path, model=FOLDER / "mine.tflite") for path in held_out]
for answer in answers[:: len(answers) // 8]:
    print(answer)
right = sum(answer.label == path.parent.name for path, answer in zip(held_out, answers))
wrong = sum(answer.status == "answered" for answer in answers) - right
print(f"held out: {right} of {len(answers)} right ({right / len(answers):.1%}), {wrong} wrong, the rest unanswered")

# 6. Where the evidence lies: for each class, the first image that was taken for it.
sheet = Image.new("RGB", (192 * len(labels), 192))
for i, label in enumerate(labels):
    answer = next(answer for answer in answers if answer.label == label)
    sheet.paste(answer.heatmap().resize((192, 192)), (192 * i, 0))
sheet.save(FOLDER / "evidence.png")
print(f"wrote {FOLDER / 'evidence.png'}: {', '.join(labels)}")
