"""From bytes to parts. Pure: no I/O."""


class Tree: ...
