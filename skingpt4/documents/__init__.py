"""What pages and reports are made of: pictures, PDF, HTML, tables, and how a page is launched."""
