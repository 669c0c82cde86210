"""What is claimed is measured here: `python -m benchmarks.NAME [--json FILE] [--quick]`."""
