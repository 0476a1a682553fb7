"""The page and the JSON API of ``covidnet-lite serve`` (extra: ``web``)."""
