"""MediaPipe's ImageClassifier as its guide writes it, with OpenCV. It takes no number of threads."""

import cv2
import mediapipe as mp
import numpy as np
from mediapipe.tasks.python import BaseOptions, vision
from protocol import arguments, serve
from snippets import dicom

model, _, threads = arguments()
options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=model), max_results=1)
classifier = vision.ImageClassifier.create_from_options(options)


def classify(path):
    # Not create_from_file: of a gray file that makes a gray image, which its ImageClassifier cannot take.
    colours = np.repeat(dicom(path)[..., None], 3, axis=2) if path.endswith(".dcm") else cv2.imread(path)
    image = mp.Image(image_format=mp.ImageFormat.SRGB, data=colours)
    return classifier.classify(image).classifications[0].categories[0].index


serve(classify)
