"""What the page's own script asks for beside Gradio: photos in and out, news, and farewell.

Gradio would write each photo to the disk, lose one that comes while another is on its way, and hold
a connection for each tab. Here a photo stays in memory, and every request ends at once. A request
names its tab by a key that only the tab's browser and this process know; without one that is open
there is no answer, so that a login to the page also guards these.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from skingpt4.demo.features.photos import joined
from skingpt4.demo.i18n import failure, status
from skingpt4.demo.session import PREVIEW_QUALITY, PREVIEW_SIDE, Sessions
from skingpt4.documents.images import JPEG, jpeg

# Holds the tab's key.
TAB_HEADER = "x-skingpt4-tab"

# Holds a photo's number, by which the tab tells its photos apart.
PHOTO_HEADER = "x-skingpt4-photo"

# Holds a file's name, percent-encoded, for an error to show it to the visitor who sent it.
NAME_HEADER = "x-skingpt4-name"

NOT_FOUND = Response("There is nothing here.", 404)


def routes(sessions: Sessions, examples: Sequence[Path]) -> list[Route]:
    """Make the page's own routes, for the visitors, and for examples that anybody may fetch."""

    async def look(request: Request) -> Response:
        """Tell whether there is something new to show, or going to be."""
        session = sessions.get(request.headers.get(TAB_HEADER, ""))
        if session is None:
            return JSONResponse({"known": False})
        session.forget_removed(time.monotonic())  # an undo that is too late is not offered
        # In this order: if nothing is under way now, the version is the last one.
        busy, version = session.is_busy, session.version
        return JSONResponse({"known": True, "version": version, "busy": busy})

    async def take(request: Request) -> Response:
        """Take a photo into the composer, or say next to it why not."""
        session = sessions.get(request.headers.get(TAB_HEADER, ""))
        if session is None:
            return NOT_FOUND
        content = await request.body()
        number = request.headers.get(PHOTO_HEADER, "")
        if number and number in session.taken:  # sent again, since the answer was lost on its way
            return JSONResponse({"taken": True})
        session.taken.add(number)  # before the work, during which it may be sent again
        name = unquote(request.headers.get(NAME_HEADER, ""))
        try:
            photo = await run_in_threadpool(session.attach, content, name)
        except Exception as error:
            session.taken.discard(number)
            session.changed(failure(error, session.language))
            return JSONResponse({"taken": False}, 422)
        session.changed(status(joined(session, photo)))
        return JSONResponse({"taken": True})

    def show(request: Request) -> Response:
        """Give a photo by its own key, which is as secret as the tab's."""
        key = request.path_params["key"]
        photos = (session.photo(key) for session in list(sessions.open.values()))
        photo = next((photo for photo in photos if photo is not None), None)
        if photo is None:
            return NOT_FOUND
        image = photo.original if request.query_params.get("original") else photo.image
        return Response(jpeg(image, PREVIEW_SIDE, PREVIEW_QUALITY), media_type=JPEG)

    def example(request: Request) -> Response:
        number = request.path_params["number"]
        return FileResponse(examples[number]) if number < len(examples) else NOT_FOUND

    async def leave(request: Request) -> Response:
        """Note that a page is being left; what it showed is kept for two minutes."""
        sessions.leave((await request.body()).decode("ascii", "replace"))
        return Response(status_code=204)

    return [
        Route("/page/look", look, methods=["GET"]),
        Route("/page/photos", take, methods=["POST"]),
        Route("/page/photos/{key}", show, methods=["GET"]),
        Route("/page/examples/{number:int}", example, methods=["GET"]),
        Route("/page/leave", leave, methods=["POST"]),
    ]
