"""The rules of thop by the names under which users import them."""
