"""The engine seen from QGIS: another process in another environment. Nothing here knows Qt or QGIS."""
