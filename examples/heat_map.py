"""The evidence behind an answer: ``python examples/heat_map.py xray.png evidence.png [LABEL]``."""

import sys

import covidnet_lite

source, out, *label = sys.argv[1:]
prediction = covidnet_lite.classify(source)
print(prediction)
if prediction.evidence is not None:
    prediction.heatmap(*label).save(out)
    print(f"wrote {out}")
