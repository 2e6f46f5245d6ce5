"""From text to values that know their lines and columns, within bounds."""
