"""The simulated organisation served to public clients: simple-salesforce and aiosalesforce.

Both speak https to fixed hosts only, so each gets a transport that carries its requests to the loopback port.
"""

from __future__ import annotations

import asyncio
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from simple_salesforce import Salesforce

from connectors.sim.kernel import Kernel, serve
from connectors.sim.salesforce import SalesforceSim

ID, SECRET, USER = "sandbox-client", "sandbox-secret", "integration@example.test"


class Loopback(requests.adapters.HTTPAdapter):
    """Sends what is meant for https://anywhere to one loopback port."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        parts = urllib.parse.urlsplit(str(request.url))
        request.url = parts._replace(scheme="http", netloc=f"127.0.0.1:{self.port}").geturl()
        return super().send(request, *args, **kwargs)


def key_pair() -> tuple[str, str]:
    """(private, public) as PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


class House:
    """One served organisation."""

    def __init__(self, **options: Any) -> None:
        self.private, public = key_pair()
        self.kernel = Kernel(seed=5)
        self.sim = SalesforceSim(self.kernel, jwt_public_key=public, instance_url="https://acme.my.salesforce.com",
                                 custom_fields={"Contact": {"Ext__c": {"type": "text", "external_id": True}}}, **options)
        self.server = serve(self.kernel, self.sim.side, self.sim.handle)
        self.port = self.server.server_address[1]
        self.session = requests.Session()
        self.session.mount("https://", Loopback(self.port))

    def login(self, **other: Any) -> Salesforce:
        """simple-salesforce by client credentials, or as ``other`` says."""
        given = other or {"consumer_key": ID, "consumer_secret": SECRET, "domain": "acme.my"}
        return Salesforce(session=self.session, version="60.0", **given)

    def close(self) -> None:
        self.session.close()
        self.server.shutdown()
        self.server.server_close()


def aio(house: House, work: Callable[[Any], Awaitable[None]]) -> None:
    """Run ``work`` with an aiosalesforce client; skipped where the library is not installed."""
    aiosalesforce = pytest.importorskip("aiosalesforce")
    httpx = pytest.importorskip("httpx")
    flow = pytest.importorskip("aiosalesforce.auth").ClientCredentialsFlow

    class Rewrite(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: Any) -> Any:
            request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=house.port)
            return await super().handle_async_request(request)

    @asynccontextmanager
    async def client() -> AsyncIterator[Any]:
        async with httpx.AsyncClient(transport=Rewrite()) as http:
            yield aiosalesforce.Salesforce(http, "https://acme.my.salesforce.com", flow(ID, SECRET), version="60.0")

    async def run() -> None:
        async with client() as salesforce:
            await work(salesforce)
    asyncio.run(run())
