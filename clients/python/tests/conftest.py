"""The client's own tests need no service; those with one stand in tests/integration/client."""

import hypothesis

# On a shared machine the time that an example takes says nothing.
hypothesis.settings.register_profile("client", deadline=None, print_blob=True)
hypothesis.settings.load_profile("client")
