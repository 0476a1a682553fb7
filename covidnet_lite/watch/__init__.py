"""``covidnet-lite watch``: a folder in; files and MQTT messages out."""
