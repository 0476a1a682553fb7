"""MobileNet on chest radiographs, by transfer learning as in CovidNet (2020): ``python examples/mobilenet.py DATA``.

Plain Keras from the base to the softmax. Needs ``pip install -e '.[training]'``;
``--help`` lists the options.
"""

from __future__ import annotations

import transfer  # first: it puts the repository on the path

# isort: split
import keras
from keras import layers

from covidnet_lite.network.input_spec import InputSpec

args = transfer.arguments(__doc__)
cases, labels, manifest = transfer.radiographs(args.data, args.out)

# A gray radiograph three times, -1 to 1: what MobileNet learnt ImageNet from.
spec = InputSpec(args.side, args.side, 3, (127.5,) * 3, (127.5,) * 3)


def mobilenet(weights: str) -> keras.Model:
    return keras.applications.MobileNet(
        include_top=False, weights=None if weights == "none" else weights, input_shape=(args.side, args.side, 3)
    )


base = transfer.pretrained(mobilenet, args.weights)
base.trainable = False  # its batch normalisation keeps ImageNet's means, too

# The head usual in 2020. One that also gives an evidence map is in own_model.py.
x = layers.GlobalAveragePooling2D()(base.output)
x = layers.Dense(64, activation="relu")(x)
x = layers.Dropout(0.5)(x)
network = keras.Model(base.input, layers.Dense(len(labels), activation="softmax")(x))
network.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
train, val = (transfer.examples(cases, split, labels, spec) for split in ("train", "val"))
network.fit(*train, validation_data=val, batch_size=16, epochs=args.epochs, verbose=2)

network.save(args.out / "mobilenet.keras")
known = ("--labels", ",".join(labels), "--input-range", "-1", "1")  # what a plain .keras file does not say
transfer.quantise_and_try(args.out / "mobilenet.keras", manifest, cases, *known, *args.quantise)
