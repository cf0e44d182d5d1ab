"""Every error a caller can meet, each knowing its own code on every wire.

A door never asks what an error *is*: it reads ``http_status``, ``grpc_status`` and :meth:`EngineError.body`.
"""

from __future__ import annotations

from typing import ClassVar, Self


class EngineError(Exception):
    """Base of all errors raised on purpose; only its subclasses are raised.

    Args:
        message: One sentence that gives the limit and the value.
        param: The request field at fault, in the contract's spelling, or None.
        hint: What to do about it, for a person at a terminal; appended to ``str(error)``.
    """

    code: ClassVar[str]
    """The machine-readable code, the same through every door."""
    type: ClassVar[str]
    """The error's family in the contract's error form."""
    http_status: ClassVar[int]
    """HTTP status code."""
    grpc_status: ClassVar[str]
    """Name of the gRPC status code."""
    retry_after: ClassVar[int | None] = None
    """Seconds after which a client may try again, or None."""

    def __init__(self, message: str, *, param: str | None = None, hint: str | None = None) -> None:
        if not hasattr(type(self), "code"):
            raise TypeError(f"{type(self).__name__} is a base class; raise one of its subclasses")
        super().__init__(message)
        self.message = message
        self.param = param
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message

    def body(self) -> dict[str, dict[str, str | None]]:
        """Return the contract's error form, ``{"error": {message, type, param, code}}``."""
        return {
            "error": {"message": str(self), "type": self.type, "param": self.param, "code": self.code},
        }


class InvalidRequestError(EngineError, ValueError):
    """A field of the request is missing, of the wrong type, or out of range."""

    code = "invalid_request_error"
    type = "invalid_request_error"
    http_status = 400
    grpc_status = "INVALID_ARGUMENT"


class ContextLengthError(InvalidRequestError):
    """The prompt and what is to be generated do not fit the model's context."""

    code = "context_length_exceeded"


class AuthenticationError(EngineError):
    """The API key is missing or wrong."""

    code = "invalid_api_key"
    type = "invalid_request_error"
    http_status = 401
    grpc_status = "UNAUTHENTICATED"


class ForbiddenError(EngineError):
    """The request comes from a page of the web that this server does not serve."""

    code = "forbidden"
    type = "invalid_request_error"
    http_status = 403
    grpc_status = "PERMISSION_DENIED"


class ModelNotFoundError(EngineError, LookupError):
    """The request names a model that this server does not serve."""

    code = "model_not_found"
    type = "invalid_request_error"
    http_status = 404
    grpc_status = "NOT_FOUND"


class RouteNotFoundError(EngineError, LookupError):
    """No route answers this path and method."""

    code = "not_found"
    type = "invalid_request_error"
    http_status = 404
    grpc_status = "UNIMPLEMENTED"


class MethodNotAllowedError(EngineError):
    """The route exists, but not for this method."""

    code = "method_not_allowed"
    type = "invalid_request_error"
    http_status = 405
    grpc_status = "UNIMPLEMENTED"


class SlowRequestError(EngineError):
    """The client took too long to send its request."""

    code = "request_timeout"
    type = "invalid_request_error"
    http_status = 408
    grpc_status = "DEADLINE_EXCEEDED"


class UnsupportedMediaTypeError(EngineError, ValueError):
    """The body is not JSON, or it is compressed."""

    code = "unsupported_media_type"
    type = "invalid_request_error"
    http_status = 415
    grpc_status = "INVALID_ARGUMENT"


class RequestTooLargeError(EngineError, ValueError):
    """The request's body, or its headers, are larger than the server accepts."""

    code = "request_too_large"
    type = "invalid_request_error"
    http_status = 413
    grpc_status = "RESOURCE_EXHAUSTED"


class QueueFullError(EngineError):
    """Too many requests wait already."""

    code = "queue_full"
    type = "rate_limit_error"
    http_status = 429
    grpc_status = "RESOURCE_EXHAUSTED"
    retry_after = 1


class TooManyConnectionsError(EngineError):
    """Too many connections are open already."""

    code = "too_many_connections"
    type = "server_error"
    http_status = 503
    grpc_status = "UNAVAILABLE"
    retry_after = 1


class InternalError(EngineError, RuntimeError):
    """The fault is ours: the model's numbers or llama.cpp failed for this request."""

    code = "internal_error"
    type = "server_error"
    http_status = 500
    grpc_status = "INTERNAL"

    @classmethod
    def of(cls, error: BaseException, what: str = "The server failed") -> Self:
        """Return what a client is told of a fault that is logged: an exception's text may be another's."""
        return cls(f"{what} ({type(error).__name__}); its log says more.")


class UnavailableError(EngineError, RuntimeError):
    """The engine is closing or closed, or its thread has died."""

    code = "unavailable"
    type = "server_error"
    http_status = 503
    grpc_status = "UNAVAILABLE"


class DeadlineExceededError(EngineError, TimeoutError):
    """The time that the client or the server allows for a request has passed."""

    code = "deadline_exceeded"
    type = "server_error"
    http_status = 504
    grpc_status = "DEADLINE_EXCEEDED"


class ModelLoadError(EngineError, ValueError):
    """A model cannot be found or loaded; raised while starting, never by a request."""

    code = "model_load_failed"
    type = "server_error"
    http_status = 500
    grpc_status = "FAILED_PRECONDITION"


class CertificateError(EngineError, ValueError):
    """A certificate or its key cannot be used; raised while starting, never by a request."""

    code = "certificate_error"
    type = "server_error"
    http_status = 500
    grpc_status = "FAILED_PRECONDITION"


class AddressError(EngineError, RuntimeError):
    """An address to listen on is taken or does not exist; raised while starting, never by a request."""

    code = "address_error"
    type = "server_error"
    http_status = 500
    grpc_status = "FAILED_PRECONDITION"


class MissingPackageError(EngineError, ModuleNotFoundError):
    """A package is not installed that an extra of this one brings; raised by imports, never by a request."""

    code = "missing_package"
    type = "server_error"
    http_status = 500
    grpc_status = "FAILED_PRECONDITION"
