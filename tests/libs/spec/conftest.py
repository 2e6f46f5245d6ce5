from hypothesis import settings

# A test may be slow on a busy machine without being wrong.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
