"""Run in the kernel of a smoke run, before its first cell: every control of a widget is moved.

Pictures keep all their bytes, since nobody stores them and to pack them takes seconds.

When a widget is shown, each of its controls is moved and moved back. What came of it is added as a
line to the file that the environment variable CONTROLS names: the width of the picture, and by the
name of each control whether the picture changed. The random generators are then as they were, so
that the numbers of the run are those of a run without this file.
"""


def _move_controls():
    import io
    import json
    import os
    import random

    import numpy as np
    import torch
    from ipywidgets import Button, SelectionSlider
    from PIL import Image

    from dvae_lib import figures, widgets

    show, figures.in_palette = widgets.LiveImage.show, lambda png: png

    def move(control):
        """Move a control, and return what moves it back."""
        if isinstance(control, Button):
            control.click()
            return lambda: None
        if isinstance(control, SelectionSlider):
            name, places = "index", range(len(control.options))
        else:
            name, places = "value", np.arange(control.min, control.max + 1e-9, control.step)
        before = getattr(control, name)
        third = type(before)(places[len(places) // 3])  # both ends may be one, as of an angle
        setattr(control, name, third if third != before else type(before)(places[-1]))
        return lambda: setattr(control, name, before)

    def show_and_move(widget):
        show(widget)
        if widget.hidden:  # one that a switch keeps for later
            return
        picture, states = widget.picture, (random.getstate(), np.random.get_state())  # noqa: NPY002
        first, changed = picture.value, {}
        with torch.random.fork_rng():
            for control in widget.children[0].children:
                before = picture.value
                back = move(control)
                changed[control.description] = picture.value != before
                back()
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        picture.value = first
        with open(os.environ["CONTROLS"], "a") as file:
            width = Image.open(io.BytesIO(first)).width
            file.write(json.dumps({"width": width, "changed": changed}) + "\n")

    widgets.LiveImage.show = show_and_move


_move_controls()
del _move_controls  # a notebook finds nothing of this
