"""The API's description, OpenAPI 3.1, for the network in use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import __version__
from ..codes import Code
from ..evidence.place import ZONES
from ..prediction import DISCLAIMER, STATUSES
from .settings import MB, Settings

Node = dict[str, Any]

_TEXT: Node = {"type": "string"}
_NUMBER: Node = {"type": "number"}
_COUNT: Node = {"type": "integer", "minimum": 0}
_DIGEST: Node = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_SHARE: Node = {"type": "number", "minimum": 0, "maximum": 1}
_SITE: Node = {
    "type": "object",
    "properties": {"name": _TEXT, "sha256": _DIGEST},
    "required": ["name", "sha256"],
    "additionalProperties": False,
}


def document(labels: Sequence[str], settings: Settings, negative: str | None = None, licence: str = "") -> Node:
    """The whole description, ready for JSON.

    Args:
        labels: of the network in use.
        settings: of the server.
        negative: the label that means "no finding", if there is one.
        licence: of the network.
    """
    paths: Node = {
        "/v1/classify": {"post": _classify(settings)},
        "/v1/picture": {"post": _image()},
        "/v1/picture/{image}": {"get": _recent_image()},
        "/v1/reviews": {"post": _add_review(labels), "get": _reviews()},
        "/v1/reviews/manifest.csv": {"get": _manifest()},
        "/v1/about": {"get": _get("about", "What the server and its network are", _json("About"))},
        "/model-card": {
            "get": {
                **_get("card", "The model card, a page", _content("text/html", _TEXT), locked=False),
                "security": [],
            }
        },
        "/healthz": {"get": {**_get("health", "Whether it is up", _json("Health"), locked=False), "security": []}},
        "/metrics": {"get": _get("metrics", "Figures for Prometheus", _content("text/plain", _TEXT))},
    }
    document: Node = {
        "openapi": "3.1.0",
        "info": {
            "title": "covidnet-lite",
            "version": __version__,
            "summary": "Frontal chest X-rays to " + ", ".join(labels),
            "description": f"{DISCLAIMER} Model card: MODEL_CARD.md in the network's file, which is also a zip.",
            "license": {"name": f"code: MIT; network: {licence or 'not stated'}"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": _schemas(labels, negative), "responses": {"Error": _json("Error", "What is wrong")}},
    }
    if settings.token is not None:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document


def _classify(settings: Settings) -> Node:
    several = {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": settings.most_files}
    return {
        "operationId": "classify",
        "summary": "Classify one image or several",
        "description": f"PNG, JPEG, TIFF, BMP, WebP or DICOM; {settings.most_bytes // MB} MB together at most. An "
        "image that cannot be read has the status failed and costs only itself.",
        "parameters": [
            _flag("evidence", "also give the evidence map, one grid a label"),
            _flag("recall", "keep the upload in memory for a while, to be asked for by its hash"),
        ],
        "requestBody": _form({"file": several}, ["file"]),
        "responses": {"200": _json("Results"), **_errors(400, 401, 403, 408, 413, 415, 500, 503, 504)},
    }


def _image() -> Node:
    size = {"schema": _COUNT, "description": "pixels of the original"}
    graymap = _content("image/x-portable-graymap", {"type": "string", "contentMediaType": "image/x-portable-graymap"})
    return {
        "operationId": "picture",
        "summary": "The radiograph as the network's reader sees it, 8-bit gray, for a screen",
        "parameters": [_flag("full", "every pixel; else a large image is reduced by a power of two")],
        "requestBody": _form({"file": _TEXT}, ["file"]),
        "responses": {
            "200": {**graymap, "headers": {"X-Original-Width": size, "X-Original-Height": size}},
            **_errors(400, 401, 403, 408, 413, 415, 422, 503, 504),
        },
    }


def _recent_image() -> Node:
    side = {"name": "side", "in": "query", "description": "pixels of the longer side", "schema": _COUNT}
    image = {"name": "image", "in": "path", "required": True, "description": "SHA-256 of the upload", "schema": _DIGEST}
    posted = _image()
    return {
        "operationId": "recentPicture",
        "summary": "The same of an image that was uploaded with recall",
        "parameters": [image, *posted["parameters"], side],
        "responses": {"200": posted["responses"]["200"], **_errors(400, 401, 404, 422, 503, 504)},
    }


def _add_review(labels: Sequence[str]) -> Node:
    fields = {
        "file": {**_TEXT, "description": "the image; kept only where the server was started with --keep"},
        "image": {**_DIGEST, "description": "in place of the file, of an image that was uploaded with recall"},
        "reviewer": {**_TEXT, "maxLength": 100},
        "settles": {"enum": ["", "yes"], "description": "whether it decides between reviewers who disagree"},
        "verdict": {"enum": ["", "agree", "disagree"], "description": "empty where there is no answer"},
        "label": {"enum": ["", *labels], "description": "the right label; empty for none of these"},
        "comment": {**_TEXT, "maxLength": 4000},
        "patient": {**_TEXT, "maxLength": 100, "description": "a pseudonym shared by all images of one patient"},
    }
    return {
        "operationId": "review",
        "summary": "Say whether an answer is right",
        "requestBody": _form(fields, []),
        "responses": {"201": _json("Review"), **_errors(400, 401, 403, 404, 408, 413, 415, 422, 503, 504, 507)},
    }


def _reviews() -> Node:
    return {
        **_get("reviews", "The last review of every reviewer on every image", _json("Reviews")),
        "description": "With --reviews only.",
        "parameters": [{"name": "image", "in": "query", "description": "of this image only", "schema": _DIGEST}],
    }


def _manifest() -> Node:
    answer = _content("text/csv", _TEXT)
    summary = "The reviewed radiographs whose image was stored, for training"
    return _get("manifest", summary, answer)


def _get(name: str, summary: str, answer: Node, locked: bool = True) -> Node:
    errors = _errors(401, 404) if locked else {}
    return {"operationId": name, "summary": summary, "responses": {"200": answer, **errors}}


def _flag(name: str, meaning: str) -> Node:
    return {"name": name, "in": "query", "description": meaning, "schema": {"type": "boolean", "default": False}}


def _form(fields: Node, required: Sequence[str]) -> Node:
    schema = {"type": "object", "properties": fields, "required": list(required)}
    encoding = {"file": {"contentType": "application/octet-stream"}}
    return {"required": True, "content": {"multipart/form-data": {"schema": schema, "encoding": encoding}}}


def _content(kind: str, schema: Node, meaning: str = "Done") -> Node:
    return {"description": meaning, "content": {kind: {"schema": schema}}}


def _json(name: str, meaning: str = "Done") -> Node:
    return _content("application/json", {"$ref": f"#/components/schemas/{name}"}, meaning)


def _errors(*codes: int) -> Node:
    return {str(code): {"$ref": "#/components/responses/Error"} for code in codes}


def _object(required: Node, optional: Node | None = None) -> Node:
    properties = {**required, **(optional or {})}
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def _or_null(schema: Node) -> Node:
    return {"oneOf": [schema, {"type": "null"}]}


def _by_label(labels: Sequence[str], schema: Node) -> Node:
    return {"type": "object", "properties": dict.fromkeys(labels, schema), "additionalProperties": False}


def _schemas(labels: Sequence[str], negative: str | None) -> Node:
    status = {"enum": list(STATUSES)}
    label = {"enum": [*labels, None]}
    code = {"enum": [code.value for code in Code]}
    shares = _by_label(labels, _SHARE)
    several = {"type": "array", "items": {"enum": list(labels)}, "uniqueItems": True}
    grid = {"type": "array", "items": {"type": "array", "items": _SHARE}}
    evidence_names = [*labels, *([f"not {negative}"] if negative else [])]
    evidence = _object({"strength": grid, "most": _NUMBER})
    place = _object({"inside": _SHARE, "zones": _by_label(ZONES, _SHARE), "main": _TEXT})
    result = _object(
        {
            "name": _TEXT,
            "status": status,
            "label": label,
            "labels": several,
            "code": _or_null(code),
            "reason": _or_null(_TEXT),
            "note": _TEXT,
            "image": _DIGEST,
        },
        {
            "probabilities": shares,
            "distance": _or_null(_NUMBER),
            "view": {"type": "array", "items": _SHARE, "minItems": 4, "maxItems": 4},
            "timings_ms": {"type": "object", "additionalProperties": _NUMBER},
            "examination": {"type": "object", "additionalProperties": _or_null(_TEXT)},
            "notes": {"type": "array", "items": _TEXT},
            "note_codes": {"type": "array", "items": code},
            "reference": _TEXT,
            "model": _TEXT,
            "sha256": _DIGEST,
            "site": _SITE,
            "signed_by": _or_null(_TEXT),
            "evidence": _or_null(_by_label(evidence_names, evidence)),
            "extent": _or_null(_SHARE),
            "extent_error": _or_null(_SHARE),
            "place": _or_null(place),
            "track_record": _or_null(_TEXT),
        },
    )
    texts = dict.fromkeys(("name", "at", "answer", "model", "comment", "patient", "kept"), _TEXT)
    review = _object(
        {
            "image": _DIGEST,
            **texts,
            "status": status,
            "probabilities": shares,
            "sha256": {"type": "string"},
            "verdict": {"enum": ["", "agree", "disagree"]},
            "label": {"enum": ["", *labels]},
            "reviewer": _TEXT,
            "settles": {"enum": ["", "yes"]},
        }
    )
    about = _object(
        {
            "version": _TEXT,
            "model": _TEXT,
            "sha256": _DIGEST,
            "site": _or_null(_SITE),
            "signed_by": _or_null(_TEXT),
            "licence": _TEXT,
            "code_licence": _TEXT,
            "labels": {"type": "array", "items": _TEXT},
            "threshold": _NUMBER,
            "negative": _or_null({"enum": list(labels)}),
            "operating_point": _or_null({"type": "object"}),
            "guard_limit": _or_null(_NUMBER),
            "runtime": _TEXT,
            "most_bytes": _COUNT,
            "most_files": _COUNT,
            "reviews": {"type": "boolean"},
            "keeps_pictures": {"type": "boolean"},
            "evidence_colours": {"type": "array", "items": {"type": "array", "items": _COUNT}},
            "note": _TEXT,
        }
    )
    counts = _object({"cases": _COUNT, "not_kept": _COUNT, "without_label": _COUNT, "disagreed": _COUNT})
    return {
        "Error": _object({"error": _TEXT}, {"code": code}),
        "Health": _object({"status": {"const": "ok"}, "model": _TEXT, "problems": {"type": "array", "items": _TEXT}}),
        "Result": result,
        "Results": _object({"results": {"type": "array", "items": {"$ref": "#/components/schemas/Result"}}}),
        "Review": review,
        "Reviews": _object(
            {"reviews": {"type": "array", "items": {"$ref": "#/components/schemas/Review"}}, "export": counts}
        ),
        "About": about,
    }
