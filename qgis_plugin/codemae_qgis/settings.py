"""What QGIS keeps for the plugin."""

from __future__ import annotations

from qgis.core import QgsNetworkAccessManager, QgsSettings
from qgis.PyQt.QtCore import QUrl
from qgis.PyQt.QtNetwork import QNetworkProxy

from .engine.runtime import Runtime, find

_RUNTIME = "codemae_geo/runtime_python"


def runtime() -> Runtime:
    """The runtime of this profile; see :func:`codemae_qgis.engine.runtime.find` for the order of places.

    Raises:
        EngineError: there is none.
    """
    return find(runtime_python())


def runtime_python() -> str:
    """The Python (or environment folder) that the user chose; empty if none."""
    return str(QgsSettings().value(_RUNTIME, "") or "")


def set_runtime_python(path: str) -> None:
    """Remember the Python of a runtime; an empty text forgets it."""
    if path:
        QgsSettings().setValue(_RUNTIME, path)
    else:
        QgsSettings().remove(_RUNTIME)


def proxy() -> str | None:
    """QGIS's proxy as a URL with user and password, for a child process; None if there is none."""
    found = QgsNetworkAccessManager.instance().fallbackProxy()
    schemes = {QNetworkProxy.ProxyType.HttpProxy: "http", QNetworkProxy.ProxyType.Socks5Proxy: "socks5"}
    if found.type() not in schemes or not found.hostName():
        return None
    url = QUrl()
    url.setScheme(schemes[found.type()])
    url.setHost(found.hostName())
    if found.port():
        url.setPort(found.port())
    if found.user():
        url.setUserName(found.user())
        url.setPassword(found.password())
    return bytes(url.toEncoded()).decode("ascii")
