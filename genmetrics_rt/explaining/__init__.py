"""Why two numbers differ: reports side by side, the recipe line by line, the same images under every protocol."""
