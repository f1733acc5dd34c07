"""URLs of images and files: parse, build and sign them."""
