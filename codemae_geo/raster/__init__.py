"""Rasters in and out. rasterio lives here and nowhere above."""
