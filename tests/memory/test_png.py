"""PNG files against another library's reader."""

import io

import numpy as np
import pytest
from PIL import Image

from envs.component import UserError
from memory.png import png


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 3), (64, 48)])
def test_read_back_to_the_last_bit(channels, mode, height, width):
    image = np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)
    for shown in (image, image[::-1, ::-1], np.zeros_like(image)):
        read = Image.open(io.BytesIO(png(shown)))
        assert (read.format, read.mode, read.size) == ("PNG", mode, (width, height))
        np.testing.assert_array_equal(np.asarray(read).reshape(shown.shape), shown)


@pytest.mark.parametrize("shape", [(4, 4, 5), (0, 4, 3), (4, 0, 3)])
def test_what_no_png_holds_is_said(shape):
    with pytest.raises(UserError, match=f"with {shape[2]} channels, which no PNG holds"):
        png(np.zeros(shape, np.uint8))
