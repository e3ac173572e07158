"""SkinGPT-4: a photo of skin, looked at and talked about."""
