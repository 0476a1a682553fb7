"""The evidence map of an answer: ``python examples/heat_map.py xray.png evidence.png [LABEL]``."""

import sys

import covidnet_lite

if not 3 <= len(sys.argv) <= 4:
    sys.exit(__doc__)
source, out, *label = sys.argv[1:]
prediction = covidnet_lite.classify(source)
print(prediction)
if prediction.evidence is not None:
    prediction.heatmap(*label).save(out)
    print(f"wrote {out}")
