"""URLs of pictures and files: parse, build and sign them."""
