//! The job server: plugins and recipes as jobs, over HTTP and WebSocket.
