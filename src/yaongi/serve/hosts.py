"""Hosts as HTTP headers name them, and which of them are this machine."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def host_name(said: str) -> str:
    """The name in a Host header, in small letters, without port and brackets."""
    try:
        return (urlsplit(f"//{said}").hostname or "").lower()
    except ValueError:
        return ""


def origin_place(origin: str) -> str:
    """Host and port of an Origin header."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    if host.lower() == "localhost":
        return True
    found = address(host)
    return found is not None and found.is_loopback


def address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """A host as an IP address, where it is one."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
