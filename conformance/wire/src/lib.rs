//! **Promise: internal.** go-plugin's protocol once more.
