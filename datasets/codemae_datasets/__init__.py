"""TorchGeo-style datasets and samplers for optical and SAR rasters."""
