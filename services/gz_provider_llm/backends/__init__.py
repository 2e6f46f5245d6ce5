"""One kind of model server each: its wire, mapped from the shared shape and back."""
