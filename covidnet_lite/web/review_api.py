"""The routes of the reviews."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..dataset import manifest_text
from ..errors import InputError
from .api import STORAGE, Api, only_file
from .review import Export, Review, ReviewStore, check, export, keep_image
from .uploads import receive_upload

NOT_KEPT = "reviews are not kept here; start the server with --reviews FILE.sqlite"


class ReviewApi:
    """Stores and returns reviews.

    A review comes with its image, or refers to one of the last uploads: the server computes the answer itself.
    """

    def __init__(self, api: Api) -> None:
        self.api, self.settings = api, api.settings
        self.store = ReviewStore(self.settings.reviews) if self.settings.reviews else None

    async def add(self, request: Request) -> Response:
        """``POST /v1/reviews``."""
        store = self._store()
        async with receive_upload(request, self.settings, self.api.admission, optional=True) as upload:
            name, data = only_file(upload) if upload.files else self.api.recalled(upload.fields.get("image", ""))
            review = await self.api.work(self._add, store, name, data, upload.fields)
        return JSONResponse(_to_json(review), 201)

    async def all(self, request: Request) -> Response:
        """``GET /v1/reviews``."""
        reviews = await self.api.work(self._store().latest)
        exported = self._export(reviews)
        counts = {
            "cases": len(exported.images),
            "not_kept": exported.not_kept,
            "without_label": exported.without_label,
            "disagreed": exported.disagreed,
        }
        image = request.query_params.get("image")
        entries = [_to_json(review) for review in reviews if image in (None, review.image)]
        return JSONResponse({"reviews": entries, "export": counts})

    async def manifest(self, request: Request) -> Response:
        """``GET /v1/reviews/manifest.csv``."""
        exported = self._export(await self.api.work(self._store().latest))
        headers = {"Content-Disposition": 'attachment; filename="manifest.csv"'}
        return Response(manifest_text(exported.images), media_type="text/csv", headers=headers)

    def _store(self) -> ReviewStore:
        if self.store is None:
            raise HTTPException(404, NOT_KEPT)
        return self.store

    def _export(self, reviews: list[Review]) -> Export:
        return export(reviews, self.settings.keep, self.settings.source)

    def _add(self, store: ReviewStore, name: str, data: bytes, fields: dict[str, str]) -> Review:
        classifier, digest = self.api.classifier, hashlib.sha256(data).hexdigest()
        result = classifier.classify(data)
        review = Review(
            image=digest,
            name=name,
            at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            status=result.status,
            answer="|".join(result.labels),
            probabilities=json.dumps(result.to_dict()["probabilities"], ensure_ascii=False),
            model=result.model,
            sha256=result.sha256,
            verdict=fields.get("verdict", ""),
            label=fields.get("label", ""),
            comment=fields.get("comment", "").strip(),
            patient=fields.get("patient", "").strip(),
            kept=f"{digest}.png" if self.settings.keep else "",
            reviewer=fields.get("reviewer", "").strip(),
            settles=fields.get("settles", ""),
        )
        check(review, classifier.labels)
        if self.settings.keep:
            try:
                keep_image(data, digest, self.settings.keep, classifier.read)
            except InputError:  # refused by its header, and not decoded
                review = Review(**{**asdict(review), "kept": ""})
        store.add(review)
        self.api.troubles.over(STORAGE)
        return review


def _to_json(review: Review) -> dict[str, Any]:
    return {**asdict(review), "probabilities": json.loads(review.probabilities)}
