"""Contract: what the OpenAPI document says besides what routes and models say of themselves."""
