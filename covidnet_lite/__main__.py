"""``python -m covidnet_lite`` is the same as ``covidnet-lite``."""

import sys

from .cli import main

sys.exit(main())
