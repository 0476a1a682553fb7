"""One call: ``python examples/one_call.py xray.png``."""

import sys

import covidnet_lite

if len(sys.argv) != 2:
    sys.exit(__doc__)
print(covidnet_lite.classify(sys.argv[1]))
