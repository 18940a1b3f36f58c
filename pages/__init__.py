"""What makes docs/ a site: `make docs` writes its references, `make site` builds it with the hook `outside`."""
