"""The account maps that are ready: `xero.yaml` and `quickbooks.yaml`, to be copied and changed."""
