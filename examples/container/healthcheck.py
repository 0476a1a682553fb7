"""Asks the service in this container whether it works, at HEALTH_URL; exit code 0 or 1.

Where the service wants a certificate of its clients, HEALTH_CERTIFICATE and HEALTH_KEY name PEM files.
"""

import os
import ssl
import sys
import urllib.error
import urllib.request

context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # it names the host, and we ask 127.0.0.1
try:
    if "HEALTH_CERTIFICATE" in os.environ:
        context.load_cert_chain(os.environ["HEALTH_CERTIFICATE"], os.environ["HEALTH_KEY"])
    with urllib.request.urlopen(os.environ["HEALTH_URL"], timeout=8, context=context) as answer:
        print(answer.read(1000).decode())
except urllib.error.HTTPError as error:
    sys.exit(error.read(1000).decode())
except OSError as error:
    sys.exit(f"{os.environ['HEALTH_URL']}: {error}")
