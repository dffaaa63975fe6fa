"""A model behind HTTP, for many clients at once: whole sequences, or one step at a time.

The server is asyncio's: Starlette, on uvicorn. The network computes in threads beside the event loop, so the loop goes
on answering. The server keeps nothing between requests: a client that sends steps gets the state and sends it back.

Run it: ``python examples/http_server.py``. It needs ``pip install . starlette uvicorn``.

- ``POST /run`` takes ``{"sequences": [x, ...]}``, each x ``[T, I]`` with a T of its own, and answers
  ``{"outputs": [y, ...]}``, each y ``[T, O]``.
- ``POST /step`` takes ``{"x": [...], "state": "..."}``, x ``[I]``, without a state for the first step, and answers
  ``{"y": [...], "state": "..."}``, y ``[O]``.

A request that cannot be served is answered by ``{"error": "..."}`` and the status 400.
"""

import argparse
import asyncio
import base64

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import ntm

# One N for all: a long sequence then takes no more memory than a short one, and runs beside it.
MODEL = ntm.load(memory_locations=128)


async def run(request: Request) -> JSONResponse:
    """Whole sequences of any lengths."""
    body = await request.json()
    # In a thread. In the event loop it would make all other clients wait. onnxruntime gives up the interpreter's lock.
    outputs = await asyncio.to_thread(MODEL.run_each, body["sequences"])
    return JSONResponse({"outputs": [y.tolist() for y in outputs]})


async def step(request: Request) -> JSONResponse:
    """The next step of a sequence."""
    body = await request.json()
    state = ntm.state_from_bytes(base64.b64decode(body["state"])) if "state" in body else MODEL.initial_state(1)
    y, after = await asyncio.to_thread(MODEL.step, [body["x"]], state)
    return JSONResponse({"y": y[0].tolist(), "state": base64.b64encode(ntm.state_to_bytes(after)).decode()})


async def refuse(_: Request, error: Exception) -> JSONResponse:
    """Say what is wrong with a request."""
    missing = f"{error} is missing" if isinstance(error, KeyError) else str(error)
    return JSONResponse({"error": missing}, status_code=400)


app = Starlette(
    routes=[Route("/run", run, methods=["POST"]), Route("/step", step, methods=["POST"])],
    exception_handlers=dict.fromkeys((KeyError, TypeError, ValueError), refuse),
)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve a model over HTTP.")
    parser.add_argument("--port", type=int, default=8000, help="0: any that is free")
    # uvicorn does not limit the size of a request: for unknown clients, put a proxy with a limit before it.
    uvicorn.run(app, port=parser.parse_args().port)
