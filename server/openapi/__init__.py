"""The description of all endpoints: one table, the OpenAPI document made from it, and a page to read."""
