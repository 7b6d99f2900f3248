"""Verger turns a bucket of images into features: MobileNetV2 on Spark, standardised, reduced by PCA."""

__version__ = "0.1.0"
