"""One call: ``python examples/one_call.py xray.png``."""

import sys

import covidnet_lite

print(covidnet_lite.classify(sys.argv[1]))
