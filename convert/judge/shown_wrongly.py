"""Ways to show a radiograph wrongly, and how to make one that is."""

from __future__ import annotations

from PIL import Image, ImageDraw

from convert.quantisation.representative_images import Change

SHARE = 0.6  # of the height of a screenshot, that the radiograph in it takes


def _repeated(columns: int, rows: int) -> Change:
    """Several radiographs in one image; to the network they resemble copies of one."""

    def change(image: Image.Image) -> Image.Image:
        width, height = image.size
        sheet = Image.new(image.mode, (columns * width, rows * height))
        for column in range(columns):
            for row in range(rows):
                sheet.paste(image, (column * width, row * height))
        return sheet

    return change


def _in_a_window(image: Image.Image) -> Image.Image:
    """A radiograph in a bright window, with a title, a list beside it, and the window's margins."""
    height = round(image.height / SHARE)
    width = max(height * 16 // 9, image.width + height // 3)
    window = Image.new(image.mode, (width, height), _level(230))
    draw = ImageDraw.Draw(window)
    draw.rectangle((0, 0, width, height // 14), fill=_level(60))
    draw.rectangle((0, 0, width // 6, height), fill=_level(145))
    for line in range(8):
        top = height // 8 + line * height // 12
        draw.rectangle((width // 60, top, width // 8, top + height // 30), fill=_level(25 if line % 2 else 60))
    left, top = (width - image.width) // 2 + width // 20, (height - image.height) // 2 + height // 40
    window.paste(image, (left, top))
    return window


def _level(gray: int) -> str:
    """A gray level as a colour for images of any mode."""
    return f"rgb({gray}, {gray}, {gray})"


# One that is mirrored as well is recognised by its turn. The page that offers to correct an image knows the first four.
WRONG: dict[str, Change] = {
    "turned by 90 degrees to the left": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "turned by 90 degrees to the right": lambda image: image.transpose(Image.Transpose.ROTATE_270),
    "upside down": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "inverted, with black bones": lambda image: image.point(lambda level: 255 - level),
    "beside another": _repeated(2, 1),
    "above another": _repeated(1, 2),
    "among others": _repeated(2, 2),
    "in a screenshot": _in_a_window,
}
