"""What target.py needs from images: data sets, the embedded flowers, metrics."""
