"""VGG16 on chest radiographs, by transfer learning as in CovidNet (2020): ``python examples/vgg16.py DATA``.

Needs ``pip install -e '.[training]'``; ``--help`` lists the options. To train more
than a new head, use ``training/recipes/vgg16.toml``.
"""

from __future__ import annotations

import transfer  # first: it puts the repository on the path

# isort: split
import keras

from training.fit import backbones, checkpoint

args = transfer.arguments(__doc__)
cases, labels, manifest = transfer.radiographs(args.data, args.out)

# VGG16 wants blue before red and another mean taken off each, which no --input-range can say. So the first layer
# of this network turns one gray channel into what it wants: 1x1 convolution, see training/fit/backbones.py.
backbone = transfer.pretrained(
    lambda weights: backbones.build("VGG16", side=args.side, weights=weights, equalise=False), args.weights
)
network = backbones.with_head(backbone, labels, dropout=0.5)

# What is frozen says the same in every epoch, and VGG16 is slow: so each radiograph passes it once.
features = {}
for split in ("train", "val"):
    inputs, targets = transfer.examples(cases, split, labels, backbone.spec)
    features[split] = backbone.network.predict(inputs, batch_size=8, verbose=0), targets
head = keras.Model(backbone.network.output, network.output["logits"])
head.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
head.fit(*features["train"], validation_data=features["val"], batch_size=16, epochs=args.epochs, verbose=2)

# The head learnt in place, so the whole network has it. Saved with its labels and input, it needs no options later.
checkpoint.save(network, args.out / "vgg16.keras", labels, backbone.spec, {"name": "vgg16", "backbone": "VGG16"})
transfer.quantise_and_try(args.out / "vgg16.keras", manifest, cases, *args.quantise)
