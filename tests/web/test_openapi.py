from __future__ import annotations

from typing import Any

import pytest
from openapi_spec_validator import validate
from starlette.routing import Route

from covidnet_lite.classifier import Classifier
from covidnet_lite.web.app import create
from covidnet_lite.web.openapi import document
from covidnet_lite.web.settings import Settings

LABELS = ("normal", "covid")
# For browsers, and the description itself.
NOT_DESCRIBED = {("GET", "/"), ("GET", "/openapi.json")}


@pytest.mark.parametrize("token", [None, "sixteen-or-more-letters"])
def test_it_is_valid(token: str | None) -> None:
    validate(document(LABELS, Settings(token=token)))
    validate(document(LABELS, Settings(token=token), "normal"))


def test_it_lists_exactly_the_routes_that_are_served() -> None:
    application: Any = create(Classifier("nano"), Settings())
    while not hasattr(application, "routes"):
        application = application.app
    routes = [route for route in application.routes if isinstance(route, Route)]
    served = {(method, route.path) for route in routes for method in route.methods or () if method != "HEAD"}
    paths = document(LABELS, Settings())["paths"]
    assert {(method.upper(), path) for path, methods in paths.items() for method in methods} == served - NOT_DESCRIBED


def test_a_token_is_asked_for_everywhere_but_where_none_is_needed() -> None:
    described = document(LABELS, Settings(token="sixteen-or-more-letters"))
    assert described["security"] == [{"token": []}]
    operations = {path: op for path, methods in described["paths"].items() for op in methods.values()}
    assert [path for path, operation in operations.items() if operation.get("security") == []] == [
        "/model-card",
        "/healthz",
    ]
    assert "security" not in document(LABELS, Settings())


def test_it_names_the_licences_of_code_and_network_and_the_model_card() -> None:
    about = document(LABELS, Settings(), licence="CC0")["info"]
    assert about["license"] == {"name": "code: MIT; network: CC0"}
    assert "MODEL_CARD.md" in about["description"]


def test_it_tells_the_limits_and_the_labels_in_use() -> None:
    described = document(LABELS, Settings(most_bytes=3 << 20, most_files=5))
    classify = described["paths"]["/v1/classify"]["post"]
    assert "3 MB" in classify["description"]
    form = classify["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["file"]["maxItems"] == 5
    assert list(described["components"]["schemas"]["Result"]["properties"]["probabilities"]["properties"]) == [*LABELS]
