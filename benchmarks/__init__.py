"""What is claimed is measured here: `python -m benchmarks.NAME [--json FILE] [--quick]`."""

import agent  # noqa: F401  before torch: it says how torch's threads wait
