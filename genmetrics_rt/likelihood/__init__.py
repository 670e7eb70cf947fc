"""The likelihood of images: from files, from a frozen density, or from a window around samples; and what it says."""
