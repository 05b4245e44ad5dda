"""The application: routes, the chat page, health and metrics, and errors in OpenAI's form."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from yaongi.core.errors import InputError, did_you_mean
from yaongi.core.i18n import translate as _
from yaongi.infer.context import Overflow
from yaongi.serve import openai
from yaongi.serve.door import Door
from yaongi.serve.faults import refusal
from yaongi.serve.limits import Limits
from yaongi.serve.metrics import Counted
from yaongi.serve.refusals import JSON, Refusal, error_body
from yaongi.serve.service import Service
from yaongi.serve.stream import ClientGone

log = logging.getLogger("yaongi.serve")
WEB = Path(__file__).parent / "web"


def build_app(
    model: Any,
    name: str,
    *,
    limits: Limits | None = None,
    overflow: str = Overflow.ERROR,
    sampling: Mapping[str, float] | None = None,
    host: str = "127.0.0.1",
    host_names: Iterable[str] = (),
    key: str | None = None,
) -> FastAPI:
    """An ASGI application that answers for a model.

    Args:
        model: a ``yaongi.Model``.
        name: what clients call it.
        overflow: of a conversation that fills the context, see ``infer.context``.
        sampling: what a request gets that gives no settings; see ``Service``.
        host: the address it will listen on, and ``host_names`` further names it goes by.
        key: what clients must send; None asks for nothing.
    """
    limits = limits or Limits()
    service = Service(model, name, limits, overflow, sampling)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        service.worker.start()
        yield
        await service.worker.close()

    app = FastAPI(
        title="yaongi",
        version=version("yaongi"),
        lifespan=lifespan,
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        exception_handlers={
            Refusal: _refusal,
            InputError: _input,
            RequestValidationError: _invalid,
            HTTPException: _http,
            ClientGone: _gone,
            RecursionError: _too_deep,
            Exception: _unexpected,
        },
    )
    app.state.service = service
    app.include_router(openai.router)
    app.add_api_route("/health", _health)
    app.add_api_route("/metrics", _metrics)
    if (WEB / "index.html").is_file():
        app.mount("/", StaticFiles(directory=WEB, html=True), name="page")
    app.add_middleware(Counted, metrics=service.metrics)
    app.add_middleware(Door, host=host, names=host_names, key=key, limits=limits)
    return app


async def _health(request: Request) -> Response:
    """200 while requests are taken; what went wrong since the start is told besides."""
    service: Service = request.app.state.service
    worker = service.worker
    status = "ok" if worker.failed is None else "degraded"
    if service.draining:
        status = "draining"
    if not worker.alive:
        status = "failed"
    found: dict[str, Any] = {
        "status": status,
        "running": worker.running,
        "waiting": worker.waiting,
        "engine_failures": worker.failures,
    }
    if worker.failed is not None:
        found["last_failure"] = {"time": int(worker.failed[0]), "error": worker.failed[1]}
    return JSON(found, 200 if status in ("ok", "degraded") else 503)


async def _metrics(request: Request) -> Response:
    """Numbers in Prometheus's format."""
    text = request.app.state.service.metrics.text()
    return Response(text, media_type=CONTENT_TYPE_LATEST)


async def _refusal(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return error.response()


async def _input(_request: Request, error: Exception) -> Response:
    return JSON(error_body(400, str(error), code="invalid_value"), 400)


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return refusal(error).response()


async def _http(request: Request, error: Exception) -> Response:
    """A path or a method that is none, or a body that is no text."""
    assert isinstance(error, HTTPException)
    status, message, headers = error.status_code, str(error.detail), error.headers
    path, taken = request.url.path[:200], _methods(request)
    if status == 400:
        message = _("The body cannot be read: JSON in UTF-8 is expected.")
    elif taken and status in (404, 405):
        known = InputError("{path} takes {methods}, not {method}.",
                           path=path, methods=taken, method=request.method)  # fmt: skip
        status, message, headers = 405, str(known), {"Allow": taken}
    elif status == 404 or path.startswith("/v1"):  # elsewhere the page's files answer, to GET only
        hint = did_you_mean(path, request.app.openapi()["paths"])
        unknown = InputError("There is no {path}. {hint}", path=path, hint=hint)
        status, message, headers = 404, str(unknown), None
    return JSON(error_body(status, message, code="http_error"), status, headers=headers)


def _methods(request: Request) -> str:
    """Those of the routes at the path of a request; none where there is no route."""
    routes = [*openai.router.routes, *request.app.routes]
    here = [r for r in routes if isinstance(r, Route) and r.path_regex.match(request.url.path)]
    return ", ".join(sorted({m for route in here for m in route.methods or ()}))


async def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=499)  # nginx's number; nobody reads it


async def _too_deep(_request: Request, _error: Exception) -> Response:
    """Each reader of JSON goes a little less deep than the next; what is described to the model
    may be refused only when it is written again."""
    return JSON(error_body(400, _("The request is nested too deeply."), code="invalid_value"), 400)


async def _unexpected(_request: Request, error: Exception) -> Response:
    log.error("A request failed.", exc_info=error)
    message = _("The server failed on this request; its log says why.")
    return JSON(error_body(500, message, code="internal"), 500)
