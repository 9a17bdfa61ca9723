# SPDX-License-Identifier: Apache-2.0
"""Tells the engine how long each step took, so that `pulumi up` and `jinku up` can print it."""

import contextlib
import time
from collections.abc import AsyncIterator

import grpc.aio  # type: ignore[import-untyped]
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc


class Progress:
    """A line per step into the engine's log, beside the resource it belongs to."""

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self._stub: engine_pb2_grpc.EngineStub | None = None

    @contextlib.asynccontextmanager
    async def step(self, urn: str, done: str) -> AsyncIterator[None]:
        """Time what is done inside and tell it. done: the word for it, such as "made". A failure is the engine's to tell."""
        start = time.monotonic()
        yield
        await self.tell(urn, f"{done} in {time.monotonic() - start:.1f} s")

    async def tell(self, urn: str, message: str) -> None:
        """Log one line; an engine that cannot be told is no reason to fail."""
        if not self.engine:
            return
        if self._stub is None:
            self._stub = engine_pb2_grpc.EngineStub(grpc.aio.insecure_channel(self.engine))
        request = engine_pb2.LogRequest(severity=engine_pb2.INFO, message=message, urn=urn, ephemeral=True)
        with contextlib.suppress(grpc.aio.AioRpcError):
            await self._stub.Log(request)
